-- What queries are compared with: search_text, folded by this program, because databases cannot fold. NULL: not folded yet,
-- or written by a process of an earlier version, which knows search_text only.
ALTER TABLE products ADD COLUMN search_folded text COLLATE "C";

-- Such a process changes search_text and leaves what was folded before.
CREATE FUNCTION forget_search_folded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search_folded := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER forget_search_folded BEFORE UPDATE ON products FOR EACH ROW
WHEN (NEW.search_text IS DISTINCT FROM OLD.search_text AND NEW.search_folded IS NOT DISTINCT FROM OLD.search_folded)
EXECUTE FUNCTION forget_search_folded();

-- Finds the rows that can hold a word of three characters or more. products_search stays for earlier versions.
CREATE INDEX products_search_folded ON products USING gin (trigrams(search_folded));
-- Finds what is to be folded.
CREATE INDEX products_unfolded ON products (id) WHERE search_folded IS NULL;
