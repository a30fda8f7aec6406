-- What a new shop starts with. A migration runs once, so what is changed later stays changed.
INSERT INTO products (id, name, description, price_minor_units, currency, image_url, search_text, created_at)
SELECT id, name, description, price, 'USD', '', lower(name || chr(10) || description),
       date_trunc('milliseconds', clock_timestamp())
FROM (VALUES
    (1, 'Laptop', 'for work and gaming', 129999),
    (2, 'Mouse', 'wireless, ergonomic', 2999),
    (3, 'Keyboard', 'mechanical, with RGB lighting', 8999),
    (4, 'Monitor', '27-inch, 4K', 39999),
    (5, 'Headphones', 'over-ear, noise-cancelling', 24999)
) AS starting (id, name, description, price);
