-- upgrade_3: a file of schema 2 becomes one of schema 3. Steps were counted by their actions, of which
-- the first observation has one too.
ALTER TABLE carried RENAME COLUMN actions TO steps;
UPDATE carried SET steps = greatest(steps - 1, 0);
INSERT INTO meta VALUES ('schema', '3');
