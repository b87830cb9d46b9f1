-- append: one commit. `batch` is the Arrow batch the writer holds out; prepared once, because
-- parsing, binding and planning 25 columns takes twice as long as the commit itself.
PREPARE append AS INSERT INTO log BY NAME SELECT * FROM batch;
