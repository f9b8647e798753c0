-- What the native engine counted beside its metrics: samples, tokens, memory. JSON, an object of numbers; empty where
-- nothing was counted.

ALTER TABLE results ADD COLUMN figures TEXT NOT NULL DEFAULT '';
