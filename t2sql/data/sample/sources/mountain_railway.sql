-- A narrow-gauge network in the mountains: stations, the lines that join them, the trains.
CREATE TABLE station (
    station_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    canton TEXT NOT NULL,
    altitude INTEGER NOT NULL,
    opened INTEGER,
    has_cafe BOOLEAN NOT NULL
);
CREATE TABLE line (
    line_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    length_km REAL NOT NULL,
    color TEXT NOT NULL
);
CREATE TABLE stop (
    line_id INTEGER NOT NULL,
    station_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (line_id, station_id),
    FOREIGN KEY (line_id) REFERENCES line(line_id),
    FOREIGN KEY (station_id) REFERENCES station(station_id)
);
-- A train without a line stands in the depot.
CREATE TABLE train (
    train_id INTEGER PRIMARY KEY,
    nickname TEXT,
    line_id INTEGER,
    seats INTEGER NOT NULL,
    top_speed INTEGER NOT NULL,
    last_service DATE,
    FOREIGN KEY (line_id) REFERENCES line(line_id)
);

INSERT INTO station VALUES
    (1, 'Altbrück', 'Uri', 462, 1888, 1),
    (2, 'Steinegg', 'Uri', 890, 1889, 0),
    (3, 'Hohtal', 'Uri', 1410, 1891, 1),
    (4, 'Col d''Argent', 'Valais', 2050, 1912, 1),
    (5, 'Vallorsine', 'Valais', 1180, 1905, 0),
    (6, 'Saint-Éloi', 'Valais', 760, 1905, 1),
    (7, 'Pian San Rocco', 'Ticino', 1320, 1924, 0),
    (8, 'Ponte Vecchio', 'Ticino', 540, 1921, 1),
    (9, 'Biasetta', 'Ticino', 310, 1921, 0),
    (10, 'Grauhorn', 'Uri', 2310, NULL, 0),
    (11, 'Alpe Morta', 'Ticino', 1650, 1930, 0);

INSERT INTO line VALUES
    (1, 'Summit Line', 31.5, 'red'),
    (2, 'Silver Pass', 44.2, 'grey'),
    (3, 'Valley Line', 18.9, 'green'),
    (4, 'Southern Line', 52.7, 'blue');

INSERT INTO stop VALUES
    (1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 10, 4),
    (2, 3, 1), (2, 4, 2), (2, 5, 3), (2, 6, 4),
    (3, 6, 1), (3, 5, 2),
    (4, 3, 1), (4, 7, 2), (4, 8, 3), (4, 9, 4), (4, 1, 5);

INSERT INTO train VALUES
    (1, 'Murmeli', 1, 96, 45, '2024-03-02'),
    (2, 'Steinbock', 1, 120, 50, '2024-04-18'),
    (3, 'L''Éclair', 2, 180, 80, '2024-02-11'),
    (4, 'Edelweiß', 2, 180, 75, '2023-12-20'),
    (5, NULL, 2, 140, 70, '2024-05-06'),
    (6, 'Grenouille', 3, 64, 60, '2024-01-30'),
    (7, 'San Rocco', 4, 210, 90, '2024-03-27'),
    (8, 'Ticinella', 4, 160, 85, '2023-11-14'),
    (9, 'Lucertola', 4, 160, 95, '2024-04-02'),
    (10, 'Old "Bertha"', NULL, 40, 30, NULL);
