-- What search_text is found by: folded, with marks where words begin. This program writes it, because SQLite can neither fold
-- nor tell words apart. NULL: not written yet. It takes the place of search_folded.
DROP TRIGGER forget_search_folded;
DROP INDEX products_unfolded;
ALTER TABLE products DROP COLUMN search_folded;
ALTER TABLE products ADD COLUMN search_marked TEXT;

-- Who changes search_text alone leaves what was written before.
CREATE TRIGGER forget_search_marked AFTER UPDATE ON products
WHEN NEW.search_text IS NOT OLD.search_text AND NEW.search_marked IS OLD.search_marked
BEGIN
    UPDATE products SET search_marked = NULL WHERE id = NEW.id;
END;

-- Finds what is still to be written.
CREATE INDEX products_unmarked ON products (id) WHERE search_marked IS NULL;

-- The places of all pieces of three characters. The triggers keep it the same as the column, in the same transaction.
CREATE VIRTUAL TABLE products_search USING fts5 (
    search_marked, content = 'products', content_rowid = 'id', columnsize = 0, tokenize = 'trigram case_sensitive 1'
);

CREATE TRIGGER products_search_insert AFTER INSERT ON products WHEN NEW.search_marked IS NOT NULL
BEGIN
    INSERT INTO products_search (rowid, search_marked) VALUES (NEW.id, NEW.search_marked);
END;

CREATE TRIGGER products_search_update AFTER UPDATE ON products WHEN NEW.search_marked IS NOT OLD.search_marked
BEGIN
    INSERT INTO products_search (products_search, rowid, search_marked)
    SELECT 'delete', OLD.id, OLD.search_marked WHERE OLD.search_marked IS NOT NULL;
    INSERT INTO products_search (rowid, search_marked)
    SELECT NEW.id, NEW.search_marked WHERE NEW.search_marked IS NOT NULL;
END;

CREATE TRIGGER products_search_delete AFTER DELETE ON products WHEN OLD.search_marked IS NOT NULL
BEGIN
    INSERT INTO products_search (products_search, rowid, search_marked) VALUES ('delete', OLD.id, OLD.search_marked);
END;
