SELECT name FROM product WHERE category = 'cake'	corner_bakery
SELECT T1.name FROM product AS T1 JOIN sale AS T2 ON T1.product_id = T2.product_id JOIN customer AS T3 ON T2.customer_id = T3.customer_id WHERE T3.name = 'Greta Holm'	corner_bakery
SELECT name FROM product ORDER BY price DESC LIMIT 1	corner_bakery
SELECT name FROM product WHERE product_id NOT IN (SELECT product_id FROM sale)	corner_bakery
SELECT category, count(*) FROM product GROUP BY category	corner_bakery
SELECT name, price FROM product ORDER BY price	corner_bakery
SELECT T1.name FROM product AS T1 JOIN sale AS T2 ON T1.product_id = T2.product_id GROUP BY T1.product_id ORDER BY sum(T2.quantity) DESC LIMIT 1	corner_bakery
SELECT count(*) FROM product	corner_bakery
SELECT count(*) FROM ferry WHERE capacity > 200	island_ferry
SELECT DISTINCT island FROM harbor	island_ferry
SELECT avg(capacity) FROM ferry WHERE launched > 1990	island_ferry
SELECT T1.name, count(*) FROM ferry AS T1 JOIN crossing AS T2 ON T1.ferry_id = T2.ferry_id GROUP BY T1.ferry_id	island_ferry
SELECT name FROM ferry ORDER BY launched LIMIT 1	island_ferry
SELECT T1.name FROM ferry AS T1 JOIN crossing AS T2 ON T1.ferry_id = T2.ferry_id JOIN harbor AS T3 ON T2.harbor_id = T3.harbor_id WHERE T3.island = 'Little Skarn' EXCEPT SELECT T1.name FROM ferry AS T1 JOIN crossing AS T2 ON T1.ferry_id = T2.ferry_id JOIN harbor AS T3 ON T2.harbor_id = T3.harbor_id WHERE T3.name = 'North Quay'	island_ferry
SELECT name FROM ferry WHERE capacity > (SELECT avg(capacity) FROM ferry)	island_ferry
