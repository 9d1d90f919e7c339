-- Beekeepers, the places where their hives stand, and what the hives gave.
CREATE TABLE apiary (
    apiary_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    region TEXT NOT NULL,
    altitude INTEGER NOT NULL
);
CREATE TABLE beekeeper (
    beekeeper_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    age INTEGER NOT NULL,
    phone TEXT
);
CREATE TABLE hive (
    hive_id INTEGER PRIMARY KEY,
    apiary_id INTEGER NOT NULL,
    beekeeper_id INTEGER NOT NULL,
    color TEXT NOT NULL,
    queen_name TEXT,
    installed DATE NOT NULL,
    FOREIGN KEY (apiary_id) REFERENCES apiary(apiary_id),
    FOREIGN KEY (beekeeper_id) REFERENCES beekeeper(beekeeper_id)
);
CREATE TABLE harvest (
    harvest_id INTEGER PRIMARY KEY,
    hive_id INTEGER NOT NULL,
    harvest_date DATE NOT NULL,
    flower TEXT NOT NULL,
    weight_kg REAL NOT NULL,
    price_per_kg REAL,
    FOREIGN KEY (hive_id) REFERENCES hive(hive_id)
);

INSERT INTO apiary VALUES
    (1, 'Old Orchard', 'Lowlands', 140),
    (2, 'Lavender Hill', 'Côte Bleue', 310),
    (3, 'Bee''s Knees', 'Lowlands', 95),
    (4, 'Chestnut Ridge', 'Highlands', 820),
    (5, 'High Meadow', 'Highlands', 1240);

INSERT INTO beekeeper VALUES
    (1, 'Margaux Lefèvre', 52, '555-0101'),
    (2, 'Owen "Buzz" Pritchard', 67, NULL),
    (3, 'Danuta Wójcik', 34, '555-0103'),
    (4, 'Silas Grey', 45, '555-0104'),
    (5, 'Fatima N''Diaye', 29, NULL);

INSERT INTO hive VALUES
    (1, 1, 1, 'white', 'Beatrice', '2019-04-12'),
    (2, 1, 1, 'yellow', 'Cléo', '2020-05-03'),
    (3, 2, 1, 'blue', NULL, '2021-04-25'),
    (4, 2, 3, 'white', 'Daphne', '2018-06-14'),
    (5, 2, 3, 'yellow', 'Edith', '2022-05-19'),
    (6, 3, 2, 'green', 'Freya', '2016-03-30'),
    (7, 3, 2, 'white', NULL, '2017-04-08'),
    (8, 4, 4, 'blue', 'Gudrun', '2020-06-01'),
    (9, 4, 4, 'green', 'Hedwig', '2021-06-20'),
    (10, 5, 3, 'white', 'Iris', '2023-05-28'),
    (11, 5, 4, 'yellow', 'Juno', '2023-06-02');

INSERT INTO harvest VALUES
    (1, 1, '2022-06-18', 'apple', 14.5, 11.0),
    (2, 1, '2023-06-20', 'apple', 16.0, 11.5),
    (3, 2, '2022-06-18', 'apple', 9.5, 11.0),
    (4, 2, '2023-08-02', 'clover', 12.0, 9.5),
    (5, 3, '2022-07-15', 'lavender', 18.5, 17.0),
    (6, 3, '2023-07-19', 'lavender', 21.0, 18.0),
    (7, 4, '2022-07-16', 'lavender', 17.0, 17.0),
    (8, 4, '2023-07-19', 'lavender', 19.5, 18.0),
    (9, 5, '2023-07-21', 'lavender', 8.0, 18.0),
    (10, 6, '2022-05-30', 'rapeseed', 25.5, 7.5),
    (11, 6, '2023-06-01', 'rapeseed', 23.0, 8.0),
    (12, 7, '2023-06-01', 'rapeseed', 20.5, 8.0),
    (13, 8, '2022-07-28', 'chestnut', 13.0, 14.0),
    (14, 8, '2023-07-30', 'chestnut', 15.5, 14.5),
    (15, 9, '2023-07-30', 'chestnut', 10.5, 14.5),
    (16, 9, '2023-09-05', 'heather', 6.0, NULL),
    (17, 10, '2024-07-09', 'heather', 5.5, 16.0);
