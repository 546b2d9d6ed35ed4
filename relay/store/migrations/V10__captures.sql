-- How a connection's changes are to be read, unless a sync file says otherwise; null: the best way.
alter table connections add column capture text;
