-- Attempts of the native engine that ended without a result, of chunks that wait or are leased again: the next one goes on with what
-- they have logged. In the order in which they ended.

CREATE TABLE begun (
  id INTEGER PRIMARY KEY,
  cell INTEGER NOT NULL REFERENCES cells,
  chunk INTEGER NOT NULL CHECK (chunk >= 0),
  job INTEGER NOT NULL REFERENCES jobs,
  ticket INTEGER NOT NULL
) STRICT;
CREATE INDEX begun_by_cell ON begun (cell, chunk);
