SELECT count(*) FROM book	library
SELECT title FROM book WHERE genre = 'novel'	library
SELECT city FROM member GROUP BY city HAVING count(*) > 2	library
SELECT title, pages FROM book WHERE year < 1990	library
SELECT min(pages), max(pages) FROM book WHERE genre = 'poetry'	library
SELECT T1.name, count(*) FROM author AS T1 JOIN book AS T2 ON T1.author_id = T2.author_id GROUP BY T1.author_id	library
SELECT name FROM member ORDER BY joined LIMIT 1	library
SELECT name FROM member WHERE member_id NOT IN (SELECT member_id FROM loan)	library
SELECT title FROM book WHERE pages > (SELECT avg(pages) FROM book)	library
SELECT country FROM author WHERE birth_year < 1950 INTERSECT SELECT country FROM author WHERE birth_year > 1980	library
SELECT T1.title FROM book AS T1 JOIN loan AS T2 ON T1.book_id = T2.book_id GROUP BY T1.book_id ORDER BY count(*) DESC LIMIT 1	library
SELECT DISTINCT T1.name FROM author AS T1 JOIN book AS T2 ON T1.author_id = T2.author_id JOIN loan AS T3 ON T2.book_id = T3.book_id JOIN member AS T4 ON T3.member_id = T4.member_id WHERE T1.country = 'Norway' AND T4.city = 'Ashford'	library
SELECT count(*) FROM station WHERE has_cafe = 1	mountain_railway
SELECT nickname FROM train WHERE top_speed > 75	mountain_railway
SELECT sum(seats) FROM train	mountain_railway
SELECT name, altitude FROM station ORDER BY altitude DESC	mountain_railway
SELECT canton, count(*), avg(altitude) FROM station GROUP BY canton	mountain_railway
SELECT T2.nickname FROM line AS T1 JOIN train AS T2 ON T1.line_id = T2.line_id WHERE T1.name = 'Southern Line'	mountain_railway
SELECT name FROM station WHERE station_id NOT IN (SELECT station_id FROM stop)	mountain_railway
SELECT nickname FROM train WHERE seats > (SELECT avg(seats) FROM train)	mountain_railway
SELECT canton FROM station WHERE altitude < 500 INTERSECT SELECT canton FROM station WHERE altitude > 2000	mountain_railway
SELECT T3.name FROM line AS T1 JOIN stop AS T2 ON T1.line_id = T2.line_id JOIN station AS T3 ON T2.station_id = T3.station_id WHERE T1.name = 'Summit Line' ORDER BY T2.position	mountain_railway
SELECT T1.name FROM line AS T1 JOIN stop AS T2 ON T1.line_id = T2.line_id GROUP BY T1.line_id ORDER BY count(*) DESC LIMIT 1	mountain_railway
SELECT T1.name FROM line AS T1 JOIN stop AS T2 ON T1.line_id = T2.line_id JOIN station AS T3 ON T2.station_id = T3.station_id WHERE T3.canton = 'Uri' EXCEPT SELECT T1.name FROM line AS T1 JOIN stop AS T2 ON T1.line_id = T2.line_id JOIN station AS T3 ON T2.station_id = T3.station_id WHERE T3.canton = 'Ticino'	mountain_railway
SELECT count(*) FROM observation WHERE clouds = 'none'	observatory
SELECT name FROM target WHERE kind = 'star'	observatory
SELECT max(aperture_m) FROM telescope	observatory
SELECT name, country FROM astronomer WHERE hired >= '2015-01-01'	observatory
SELECT type, count(*) FROM telescope GROUP BY type	observatory
SELECT T1.night FROM observation AS T1 JOIN telescope AS T2 ON T1.telescope_id = T2.telescope_id WHERE T2.name = 'Dish'	observatory
SELECT name FROM target WHERE constellation = (SELECT constellation FROM target WHERE name = 'Vega')	observatory
SELECT constellation FROM target WHERE kind = 'star' INTERSECT SELECT constellation FROM target WHERE kind = 'nebula'	observatory
SELECT T1.name, sum(T2.hours) FROM astronomer AS T1 JOIN observation AS T2 ON T1.astronomer_id = T2.astronomer_id WHERE T1.country = 'Sweden' GROUP BY T1.astronomer_id	observatory
SELECT T1.name, sum(T2.hours) FROM target AS T1 JOIN observation AS T2 ON T1.target_id = T2.target_id GROUP BY T1.target_id HAVING sum(T2.hours) > 8 ORDER BY sum(T2.hours) DESC	observatory
SELECT T1.name FROM astronomer AS T1 JOIN observation AS T2 ON T1.astronomer_id = T2.astronomer_id GROUP BY T1.astronomer_id ORDER BY sum(T2.hours) DESC LIMIT 1	observatory
SELECT T1.name FROM astronomer AS T1 JOIN observation AS T2 ON T1.astronomer_id = T2.astronomer_id JOIN telescope AS T3 ON T2.telescope_id = T3.telescope_id WHERE T3.name = 'Big Eye' EXCEPT SELECT T1.name FROM astronomer AS T1 JOIN observation AS T2 ON T1.astronomer_id = T2.astronomer_id JOIN telescope AS T3 ON T2.telescope_id = T3.telescope_id WHERE T3.name = 'Nightjar'	observatory
SELECT count(*) FROM hive	honey_farm
SELECT name FROM apiary WHERE region = 'Côte Bleue'	honey_farm
SELECT DISTINCT flower FROM harvest	honey_farm
SELECT name, age FROM beekeeper ORDER BY age	honey_farm
SELECT flower, sum(weight_kg) FROM harvest GROUP BY flower	honey_farm
SELECT count(*) FROM hive AS T1 JOIN apiary AS T2 ON T1.apiary_id = T2.apiary_id WHERE T2.name = 'Old Orchard'	honey_farm
SELECT name FROM beekeeper WHERE beekeeper_id NOT IN (SELECT beekeeper_id FROM hive WHERE color = 'white')	honey_farm
SELECT harvest_id FROM harvest WHERE weight_kg > (SELECT avg(weight_kg) FROM harvest)	honey_farm
SELECT T1.name, count(*) FROM beekeeper AS T1 JOIN hive AS T2 ON T1.beekeeper_id = T2.beekeeper_id WHERE T1.age > 40 GROUP BY T1.beekeeper_id	honey_farm
SELECT T1.name, sum(T3.weight_kg) FROM apiary AS T1 JOIN hive AS T2 ON T1.apiary_id = T2.apiary_id JOIN harvest AS T3 ON T2.hive_id = T3.hive_id WHERE T1.region = 'Highlands' GROUP BY T1.apiary_id	honey_farm
SELECT T1.name FROM beekeeper AS T1 JOIN hive AS T2 ON T1.beekeeper_id = T2.beekeeper_id JOIN harvest AS T3 ON T2.hive_id = T3.hive_id WHERE T3.harvest_date BETWEEN '2023-01-01' AND '2023-12-31' GROUP BY T1.beekeeper_id ORDER BY sum(T3.weight_kg) DESC LIMIT 1	honey_farm
SELECT T1.region FROM apiary AS T1 JOIN hive AS T2 ON T1.apiary_id = T2.apiary_id JOIN harvest AS T3 ON T2.hive_id = T3.hive_id WHERE T3.flower = 'apple' INTERSECT SELECT T1.region FROM apiary AS T1 JOIN hive AS T2 ON T1.apiary_id = T2.apiary_id JOIN harvest AS T3 ON T2.hive_id = T3.hive_id WHERE T3.flower = 'rapeseed'	honey_farm
