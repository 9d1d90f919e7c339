-- A bakery's week, for the train split.
CREATE TABLE product (
    product_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    price REAL NOT NULL,
    introduced DATE
);
CREATE TABLE customer (
    customer_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    street TEXT
);
CREATE TABLE sale (
    sale_id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL,
    customer_id INTEGER,
    sale_date DATE NOT NULL,
    quantity INTEGER NOT NULL,
    FOREIGN KEY (product_id) REFERENCES product(product_id),
    FOREIGN KEY (customer_id) REFERENCES customer(customer_id)
);

INSERT INTO product VALUES
    (1, 'rye loaf', 'bread', 4.2, '2015-02-01'),
    (2, 'sourdough', 'bread', 5.5, '2018-09-10'),
    (3, 'crème brûlée tart', 'cake', 6.8, '2021-05-20'),
    (4, 'carrot cake', 'cake', 4.9, NULL),
    (5, 'baker''s roll', 'roll', 0.9, '2015-02-01'),
    (6, 'poppy seed roll', 'roll', 1.1, '2019-11-03');

INSERT INTO customer VALUES
    (1, 'Greta Holm', 'Mill Lane'),
    (2, 'Abdul Karimi', 'Station Road'),
    (3, 'Renée O''Shea', 'Mill Lane'),
    (4, 'Victor Lang', NULL);

INSERT INTO sale VALUES
    (1, 1, 1, '2024-05-06', 2),
    (2, 5, 1, '2024-05-06', 6),
    (3, 2, 2, '2024-05-07', 1),
    (4, 3, 3, '2024-05-07', 4),
    (5, 5, NULL, '2024-05-07', 10),
    (6, 6, 2, '2024-05-08', 8),
    (7, 2, 3, '2024-05-09', 2),
    (8, 5, 3, '2024-05-10', 12),
    (9, 1, NULL, '2024-05-11', 1);
