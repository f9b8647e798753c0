-- What people outside are still to be told (orchestrator/control/notice.h). A row goes once it was told.

CREATE TABLE notices (
  id INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2), -- orchestrator/store/numbers.h
  sweep INTEGER REFERENCES sweeps,
  at INTEGER,
  taken INTEGER NOT NULL CHECK (taken IN (0, 1)),
  text TEXT NOT NULL
) STRICT;
