-- What queries are compared with: search_text, folded by this program, because databases cannot fold. NULL: not folded yet.
ALTER TABLE products ADD COLUMN search_folded TEXT;

-- Who changes search_text alone leaves what was folded before.
CREATE TRIGGER forget_search_folded AFTER UPDATE ON products
WHEN NEW.search_text IS NOT OLD.search_text AND NEW.search_folded IS OLD.search_folded
BEGIN
    UPDATE products SET search_folded = NULL WHERE id = NEW.id;
END;

-- Finds what is to be folded.
CREATE INDEX products_unfolded ON products (id) WHERE search_folded IS NULL;
