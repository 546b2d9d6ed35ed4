-- Who a person is at a provider of identities (OpenID Connect): the subject there, which is never given to
-- anybody else, and not the e-mail address, which may be.
create table identities (
    issuer     text not null,
    subject    text not null,
    user       integer not null references users (id) on delete cascade,
    -- 1: the role is what the relay's rules say at each sign-in; 0: an admin's or the person's own doing.
    by_rule    integer not null,
    created_at integer not null,
    primary key (issuer, subject)
) strict, without rowid;

create index identities_user on identities (user);
