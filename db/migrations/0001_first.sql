-- What the daemon remembers: the rows of orchestrator/control/change.h, a table for each kind.
--
-- Times are milliseconds of the Unix epoch, NULL where there is none yet. What the numbers in the columns state,
-- ended_as, cause and remedy mean stands in orchestrator/store/numbers.h; they never change their meaning. Lists are
-- JSON. Texts that are long, and not needed at a start, lie in tables of their own, so that a start does not read them.

CREATE TABLE store (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  instance TEXT NOT NULL CHECK (length(instance) = 8),
  made INTEGER NOT NULL
) STRICT;

CREATE TABLE facts (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL CHECK (value <> '')
) STRICT, WITHOUT ROWID;

-- Models, tasks and kinds of events: a million cells have a few hundred between them.
CREATE TABLE names (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE settings (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE needs (
  id INTEGER PRIMARY KEY,
  nodes INTEGER NOT NULL,
  gpus REAL NOT NULL,
  cpus INTEGER NOT NULL,
  memory INTEGER NOT NULL,
  environment TEXT NOT NULL,
  profile TEXT NOT NULL,
  loads TEXT NOT NULL,
  load REAL NOT NULL,
  most REAL NOT NULL,
  batch INTEGER NOT NULL,
  rooms TEXT NOT NULL, -- [[nodes, gpus, cpus, memory], …]
  nodes_there INTEGER NOT NULL,
  whole_nodes INTEGER NOT NULL CHECK (whole_nodes IN (0, 1)),
  script_values TEXT NOT NULL,
  strikes INTEGER NOT NULL,
  stopped TEXT NOT NULL
) STRICT;

CREATE TABLE sweeps (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  user TEXT NOT NULL,
  request_key TEXT NOT NULL,
  rejected_cells INTEGER NOT NULL,
  submitted INTEGER,
  state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 4),
  ended INTEGER
) STRICT;
CREATE UNIQUE INDEX sweeps_by_request ON sweeps (request_key) WHERE request_key <> '';

CREATE TABLE sweep_texts (
  sweep INTEGER PRIMARY KEY REFERENCES sweeps,
  matrix TEXT NOT NULL,
  rejected TEXT NOT NULL
) STRICT;

-- A cell that runs or is blocked waits here: a row of leases says the one, the cell that it depends on the other.
CREATE TABLE cells (
  id INTEGER PRIMARY KEY,
  key BLOB NOT NULL CHECK (length(key) = 32),
  need INTEGER NOT NULL REFERENCES needs,
  depends INTEGER REFERENCES cells,
  model INTEGER NOT NULL REFERENCES names,
  task INTEGER NOT NULL REFERENCES names,
  expected REAL NOT NULL,
  bound REAL NOT NULL,
  chunks INTEGER NOT NULL CHECK (chunks >= 1),
  state INTEGER NOT NULL DEFAULT 1 CHECK (state IN (1, 3, 4, 5)),
  generation INTEGER NOT NULL DEFAULT 1 CHECK (generation >= 1)
) STRICT;
CREATE UNIQUE INDEX cells_by_key ON cells (key);

CREATE TABLE cell_texts (
  cell INTEGER PRIMARY KEY REFERENCES cells,
  settings INTEGER NOT NULL REFERENCES settings,
  content TEXT NOT NULL
) STRICT;

CREATE TABLE wanted (
  sweep INTEGER NOT NULL REFERENCES sweeps,
  place INTEGER NOT NULL,
  cell INTEGER NOT NULL REFERENCES cells,
  score REAL NOT NULL,
  generation INTEGER NOT NULL,
  PRIMARY KEY (sweep, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  need INTEGER NOT NULL REFERENCES needs,
  sweep INTEGER NOT NULL REFERENCES sweeps,
  nodes INTEGER NOT NULL,
  gpus REAL NOT NULL,
  cpus INTEGER NOT NULL,
  memory INTEGER NOT NULL,
  environment TEXT NOT NULL,
  profile TEXT NOT NULL,
  script_values TEXT NOT NULL,
  time_limit INTEGER NOT NULL,
  excluded_nodes TEXT NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 6),
  cluster_id TEXT NOT NULL,
  cluster_says TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  restarts INTEGER NOT NULL,
  copy TEXT NOT NULL,
  runs_on TEXT NOT NULL, -- names of nodes
  taken INTEGER NOT NULL,
  passed_over INTEGER NOT NULL CHECK (passed_over IN (0, 1)),
  delivered INTEGER NOT NULL,
  gpu_seconds REAL NOT NULL,
  submitted INTEGER,
  started INTEGER,
  ended INTEGER,
  ended_as INTEGER CHECK (ended_as BETWEEN 0 AND 15),
  reason TEXT NOT NULL,
  cancel_asked INTEGER NOT NULL CHECK (cancel_asked IN (0, 1))
) STRICT;

CREATE TABLE leases (
  cell INTEGER NOT NULL REFERENCES cells,
  chunk INTEGER NOT NULL CHECK (chunk >= 0),
  job INTEGER NOT NULL REFERENCES jobs,
  epoch INTEGER NOT NULL,
  ticket INTEGER NOT NULL,
  PRIMARY KEY (cell, chunk)
) STRICT, WITHOUT ROWID;

-- In the order in which they arrived: what is appended costs less than what is sorted in.
CREATE TABLE results (
  id INTEGER PRIMARY KEY,
  cell INTEGER NOT NULL REFERENCES cells,
  generation INTEGER NOT NULL,
  chunk INTEGER NOT NULL CHECK (chunk >= 0),
  job INTEGER NOT NULL REFERENCES jobs,
  gpu_seconds REAL NOT NULL,
  seconds REAL NOT NULL,
  at INTEGER,
  metrics TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX results_by_cell ON results (cell, generation, chunk);

CREATE TABLE failures (
  id INTEGER PRIMARY KEY,
  cell INTEGER NOT NULL REFERENCES cells,
  generation INTEGER NOT NULL,
  job INTEGER REFERENCES jobs, -- NULL: it never came to a job
  cause INTEGER NOT NULL CHECK (cause BETWEEN 0 AND 9),
  remedy INTEGER NOT NULL CHECK (remedy BETWEEN 0 AND 10),
  factor REAL NOT NULL,
  crash INTEGER NOT NULL CHECK (crash IN (0, 1)),
  counts INTEGER NOT NULL CHECK (counts IN (0, 1)),
  nodes TEXT NOT NULL,
  at INTEGER,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX failures_by_cell ON failures (cell);

-- The journal, for people. A number of -1 is kept as NULL.
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  at INTEGER,
  kind INTEGER NOT NULL REFERENCES names,
  sweep INTEGER,
  cell INTEGER,
  job INTEGER,
  text TEXT NOT NULL
) STRICT;
