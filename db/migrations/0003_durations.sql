-- What is known beforehand of a cell's duration, and which cells are the same work again (orchestrator/control/same_work.h).

ALTER TABLE cells ADD COLUMN basis INTEGER NOT NULL DEFAULT 0 CHECK (basis BETWEEN 0 AND 5); -- store/numbers.h
ALTER TABLE cells ADD COLUMN work INTEGER NOT NULL DEFAULT 0 CHECK (work >= 0); -- 0: nothing else is the same work
