-- What search_text is found by: folded, with marks where words begin. This program writes it, because databases can neither
-- fold nor tell words apart. NULL: not written yet, or written by a process of an earlier version. It takes the place of
-- search_folded, which stays for such processes, as does its index.
ALTER TABLE products ADD COLUMN search_marked text COLLATE "C";

-- Such a process changes search_text and leaves what was written before.
CREATE FUNCTION forget_search_marked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search_marked := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER forget_search_marked BEFORE UPDATE ON products FOR EACH ROW
WHEN (NEW.search_text IS DISTINCT FROM OLD.search_text AND NEW.search_marked IS NOT DISTINCT FROM OLD.search_marked)
EXECUTE FUNCTION forget_search_marked();

-- The pieces of three characters of each product. What was put last is read from end to end by every search until it is
-- sorted in, so that is kept short (in kB).
CREATE INDEX products_search_marked ON products USING gin (trigrams(search_marked)) WITH (gin_pending_list_limit = 128);
-- Finds what is still to be written.
CREATE INDEX products_unmarked ON products (id) WHERE search_marked IS NULL;
-- The versions that looked into it are two behind.
DROP INDEX products_search;
