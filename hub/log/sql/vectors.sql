-- vectors: as what the file keeps them; before schema 2 it was FLOAT[].
SELECT data_type FROM duckdb_columns() WHERE table_name = 'log' AND column_name = 'obs';
