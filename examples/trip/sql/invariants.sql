-- What must hold when no saga is running, whatever crashed, doubled or came late. Each query, named
-- by its database and promise, returns the offenders: no row is good.

-- flights: no key reserved twice
SELECT key, count(*) FROM flights.movement WHERE kind = 'reserve' GROUP BY key HAVING count(*) > 1;

-- flights: no key released twice
SELECT key, count(*) FROM flights.movement WHERE kind = 'release' GROUP BY key HAVING count(*) > 1;

-- flights: a seat is held exactly by those who reserved it and did not release it
SELECT s.code, s.held_by, m.key
FROM flights.seat s
FULL JOIN (
    SELECT seat, key FROM flights.movement GROUP BY seat, key
    HAVING count(*) FILTER (WHERE kind = 'reserve') > count(*) FILTER (WHERE kind = 'release')
) m ON m.seat = s.code AND m.key = s.held_by
WHERE (s.held_by IS NOT NULL AND m.key IS NULL) OR s.code IS NULL;

-- flights: nothing was released before it was reserved
SELECT r.key FROM flights.movement r
WHERE r.kind = 'release'
  AND NOT EXISTS (SELECT FROM flights.movement b WHERE b.key = r.key AND b.kind = 'reserve' AND b.id < r.id);

-- hotels: no key booked twice
SELECT key, count(*) FROM hotels.movement WHERE kind = 'book' GROUP BY key HAVING count(*) > 1;

-- hotels: no key cancelled twice
SELECT key, count(*) FROM hotels.movement WHERE kind = 'cancel' GROUP BY key HAVING count(*) > 1;

-- hotels: a room is held exactly by those who booked it and did not cancel it
SELECT s.number, s.held_by, m.key
FROM hotels.room s
FULL JOIN (
    SELECT room, key FROM hotels.movement GROUP BY room, key
    HAVING count(*) FILTER (WHERE kind = 'book') > count(*) FILTER (WHERE kind = 'cancel')
) m ON m.room = s.number AND m.key = s.held_by
WHERE (s.held_by IS NOT NULL AND s.held_by <> 'sold-out' AND m.key IS NULL) OR s.number IS NULL;

-- payments: no key charged twice
SELECT key, count(*) FROM payments.charge GROUP BY key HAVING count(*) > 1;

-- payments: no charge refunded twice
SELECT id, key, refunds FROM payments.charge WHERE refunds > 1;

-- payments: every balance adds up
SELECT a.traveller, a.opening, a.balance, coalesce(sum(c.usd) FILTER (WHERE c.refunds = 0), 0) AS paid
FROM payments.account a LEFT JOIN payments.charge c USING (traveller)
GROUP BY a.traveller, a.opening, a.balance
HAVING a.opening <> a.balance + coalesce(sum(c.usd) FILTER (WHERE c.refunds = 0), 0);

-- mail: one mail per saga
SELECT split_part(message_id, '/', 1) AS saga, count(*) FROM mail.sent GROUP BY 1 HAVING count(*) > 1;
