-- Ferries between islands, for the train split.
CREATE TABLE harbor (
    harbor_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    island TEXT NOT NULL,
    depth_m REAL
);
CREATE TABLE ferry (
    ferry_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    launched INTEGER NOT NULL
);
CREATE TABLE crossing (
    crossing_id INTEGER PRIMARY KEY,
    ferry_id INTEGER NOT NULL,
    harbor_id INTEGER NOT NULL,
    depart_date DATE NOT NULL,
    passengers INTEGER,
    FOREIGN KEY (ferry_id) REFERENCES ferry(ferry_id),
    FOREIGN KEY (harbor_id) REFERENCES harbor(harbor_id)
);

INSERT INTO harbor VALUES
    (1, 'North Quay', 'Skarn', 9.5),
    (2, 'Port Éloise', 'Skarn', 6.0),
    (3, 'Gull''s Rest', 'Little Skarn', 4.5),
    (4, 'Hythe', 'Morrow', NULL);

INSERT INTO ferry VALUES
    (1, 'Cormorant', 220, 1996),
    (2, 'Sea Otter', 340, 2008),
    (3, 'Lady "Jo"', 80, 1979),
    (4, 'Northern Light', 410, 2019);

INSERT INTO crossing VALUES
    (1, 1, 1, '2024-07-01', 180),
    (2, 1, 3, '2024-07-02', 95),
    (3, 2, 2, '2024-07-02', 301),
    (4, 2, 4, '2024-07-03', 210),
    (5, 3, 3, '2024-07-03', 42),
    (6, 3, 3, '2024-07-04', NULL),
    (7, 2, 1, '2024-07-05', 322);
