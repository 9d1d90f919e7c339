-- A town library: what it holds, who borrows it, what is still out.
CREATE TABLE author (
    author_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    country TEXT,
    birth_year INTEGER
);
CREATE TABLE book (
    book_id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    author_id INTEGER NOT NULL,
    genre TEXT NOT NULL,
    year INTEGER,
    pages INTEGER NOT NULL,
    FOREIGN KEY (author_id) REFERENCES author(author_id)
);
CREATE TABLE member (
    member_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    city TEXT NOT NULL,
    joined DATE NOT NULL,
    email TEXT
);
-- A loan without a return date is still out.
CREATE TABLE loan (
    loan_id INTEGER PRIMARY KEY,
    book_id INTEGER NOT NULL,
    member_id INTEGER NOT NULL,
    loan_date DATE NOT NULL,
    return_date DATE,
    FOREIGN KEY (book_id) REFERENCES book(book_id),
    FOREIGN KEY (member_id) REFERENCES member(member_id)
);

INSERT INTO author VALUES
    (1, 'Marit Solheim', 'Norway', 1948),
    (2, 'Séamus O''Dowd', 'Ireland', 1961),
    (3, 'Inês Carvalho', 'Portugal', 1979),
    (4, 'Teodor Vâlcu', 'Romania', 1935),
    (5, 'Hana Kimura', 'Japan', 1984),
    (6, 'Ruth Adeyemi', 'Nigeria', 1970),
    (7, 'Lars Wikander', 'Norway', 1990),
    (8, 'A. N. Onymous', NULL, NULL);

INSERT INTO book VALUES
    (1, 'The Salt Road', 1, 'novel', 1983, 412),
    (2, 'Nine Winters', 1, 'novel', 1991, 288),
    (3, 'A Boat Called "Patience"', 2, 'novel', 2004, 336),
    (4, 'The Keeper''s Daughter', 2, 'mystery', 2010, 254),
    (5, 'Limão e Sal', 3, 'poetry', 2012, 96),
    (6, 'Maps of the Lower Air', 3, 'science', 2018, 310),
    (7, 'The Clockmaker of Iași', 4, 'mystery', 1972, 198),
    (8, 'Letters Never Sent', 4, 'poetry', 1980, 120),
    (9, 'Moss', 5, 'poetry', 2016, 88),
    (10, 'How Rivers Think', 5, 'science', 2021, 402),
    (11, 'Harmattan', 6, 'novel', 2001, 520),
    (12, 'The Seventh Market', 6, 'mystery', 2008, 276),
    (13, 'Fjord Light', 7, 'science', 2020, 224),
    (14, 'Cooking for Ghosts', 8, 'mystery', NULL, 180),
    (15, 'Tides and Tables', 3, 'science', 2022, 148);

INSERT INTO member VALUES
    (1, 'Zoë Bright', 'Ashford', '2019-03-14', 'zoe@example.org'),
    (2, 'Colm O''Brien', 'Milton', '2020-11-02', NULL),
    (3, 'Łukasz Nowak', 'Ashford', '2021-06-21', 'lukasz@example.org'),
    (4, 'Priya Raman', 'Elmsworth', '2018-01-09', 'priya@example.org'),
    (5, 'Tom Hale', 'Milton', '2022-08-30', NULL),
    (6, 'Ada Fournier', 'Ashford', '2023-02-17', 'ada@example.org'),
    (7, 'Jürgen Weiß', 'Elmsworth', '2017-05-05', 'jw@example.org'),
    (8, 'Noor Haddad', 'Milton', '2024-01-12', NULL);

INSERT INTO loan VALUES
    (1, 1, 1, '2023-01-05', '2023-01-26'),
    (2, 3, 1, '2023-02-02', '2023-02-20'),
    (3, 10, 1, '2023-09-11', '2023-10-01'),
    (4, 11, 1, '2024-02-14', NULL),
    (5, 4, 2, '2023-03-03', '2023-03-15'),
    (6, 7, 2, '2023-04-01', '2023-04-22'),
    (7, 12, 2, '2023-04-22', '2023-05-09'),
    (8, 6, 3, '2023-05-19', '2023-06-02'),
    (9, 13, 3, '2023-06-02', '2023-06-23'),
    (10, 10, 3, '2023-11-20', '2023-12-18'),
    (11, 9, 4, '2022-12-01', '2022-12-08'),
    (12, 5, 4, '2022-12-08', '2022-12-22'),
    (13, 8, 4, '2023-07-07', '2023-07-14'),
    (14, 9, 4, '2023-08-01', '2023-08-15'),
    (15, 2, 4, '2024-01-10', NULL),
    (16, 1, 6, '2023-03-20', '2023-04-17'),
    (17, 11, 6, '2023-08-08', '2023-09-12'),
    (18, 10, 6, '2024-01-22', NULL),
    (19, 3, 7, '2022-10-10', '2022-10-31'),
    (20, 4, 7, '2022-11-11', '2022-11-25'),
    (21, 12, 8, '2024-01-15', '2024-01-29'),
    (22, 7, 8, '2024-02-03', NULL);
