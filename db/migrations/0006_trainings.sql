-- Needs of trainings of the native engine, whose attempts go on from what the one before has left; and which attempt each result is of, so that
-- what it made is found: the adapter that other cells evaluate.

ALTER TABLE needs ADD COLUMN trains INTEGER NOT NULL DEFAULT 0 CHECK (trains IN (0, 1));
ALTER TABLE results ADD COLUMN ticket INTEGER NOT NULL DEFAULT 0; -- 0: of before this was kept
