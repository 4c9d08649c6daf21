-- A version of a definition may be *retired*: it takes no new starts. Its row stays, for what ran
-- under it is read, shown and undone by it. NULL: it takes starts.
--
-- A release that does not know the column goes on starting sagas of a retired version; they run to
-- their ends like all others.
ALTER TABLE amends.definition ADD COLUMN retired_at timestamptz;
