-- An observatory's logbook: who pointed which telescope at what, on which night.
CREATE TABLE telescope (
    telescope_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    aperture_m REAL NOT NULL,
    built INTEGER NOT NULL
);
CREATE TABLE astronomer (
    astronomer_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    hired DATE NOT NULL,
    supervisor_id INTEGER,
    FOREIGN KEY (supervisor_id) REFERENCES astronomer(astronomer_id)
);
CREATE TABLE target (
    target_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    constellation TEXT NOT NULL,
    magnitude REAL,
    distance_ly REAL
);
CREATE TABLE observation (
    observation_id INTEGER PRIMARY KEY,
    telescope_id INTEGER NOT NULL,
    astronomer_id INTEGER NOT NULL,
    target_id INTEGER NOT NULL,
    night DATE NOT NULL,
    hours REAL NOT NULL,
    clouds TEXT,
    FOREIGN KEY (telescope_id) REFERENCES telescope(telescope_id),
    FOREIGN KEY (astronomer_id) REFERENCES astronomer(astronomer_id),
    FOREIGN KEY (target_id) REFERENCES target(target_id)
);

INSERT INTO telescope VALUES
    (1, 'Big Eye', 'reflector', 3.6, 1998),
    (2, 'Grandfather', 'refractor', 0.4, 1907),
    (3, 'Söderberg', 'reflector', 1.5, 1976),
    (4, 'Dish', 'radio', 25.0, 1984),
    (5, 'Nightjar', 'reflector', 0.8, 2015);

INSERT INTO astronomer VALUES
    (1, 'Ingrid Åström', 'Sweden', '2001-09-01', NULL),
    (2, 'Mateo Ibáñez', 'Chile', '2008-03-15', 1),
    (3, 'Aoife D''Arcy', 'Ireland', '2012-10-01', 1),
    (4, 'Chen Yu', 'China', '2015-01-20', 2),
    (5, 'Sara Lindqvist', 'Sweden', '2019-08-12', 3),
    (6, 'Paul Okafor', 'Nigeria', '2021-05-03', 2),
    (7, 'Mia Rossi', 'Italy', '2023-02-01', 3);

INSERT INTO target VALUES
    (1, 'Andromeda Galaxy', 'galaxy', 'Andromeda', 3.4, 2537000),
    (2, 'Orion Nebula', 'nebula', 'Orion', 4.0, 1344),
    (3, 'Betelgeuse', 'star', 'Orion', 0.5, 548),
    (4, 'Crab Nebula', 'nebula', 'Taurus', 8.4, 6500),
    (5, 'Aldebaran', 'star', 'Taurus', 0.9, 65),
    (6, 'Barnard''s Star', 'star', 'Ophiuchus', 9.5, 6),
    (7, 'Whirlpool Galaxy', 'galaxy', 'Canes Venatici', 8.4, 31000000),
    (8, 'Ring Nebula', 'nebula', 'Lyra', 8.8, 2570),
    (9, 'Vega', 'star', 'Lyra', 0.0, 25),
    (10, 'Object "X-19"', 'unknown', 'Lyra', NULL, NULL);

INSERT INTO observation VALUES
    (1, 1, 1, 1, '2023-10-12', 5.5, 'none'),
    (2, 1, 2, 7, '2023-10-13', 6.0, 'none'),
    (3, 1, 4, 4, '2023-11-02', 3.5, 'some'),
    (4, 1, 3, 1, '2023-11-18', 7.0, 'none'),
    (5, 2, 5, 9, '2023-06-21', 1.5, 'some'),
    (6, 2, 7, 5, '2023-12-01', 2.0, NULL),
    (7, 3, 2, 2, '2023-12-14', 4.5, 'none'),
    (8, 3, 5, 8, '2023-07-08', 3.0, 'none'),
    (9, 3, 5, 2, '2024-01-09', 4.0, 'many'),
    (10, 3, 6, 3, '2024-01-10', 2.5, 'some'),
    (11, 4, 6, 10, '2024-02-01', 8.0, NULL),
    (12, 4, 4, 10, '2024-02-02', 9.5, NULL),
    (13, 4, 4, 4, '2024-02-20', 6.5, NULL),
    (14, 5, 7, 9, '2024-03-03', 1.0, 'many'),
    (15, 5, 3, 6, '2024-03-11', 2.0, 'none'),
    (16, 5, 7, 3, '2024-03-12', 1.5, 'none'),
    (17, 1, 2, 8, '2024-04-04', 4.0, 'some'),
    (18, 3, 3, 5, '2024-04-05', 2.0, 'none');
