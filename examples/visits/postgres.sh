#!/bin/sh -e
# Becomes the database server; an empty volume first gets a database that whoever is on the same network may use.
PATH=/usr/lib/postgresql/15/bin:$PATH
data=/var/lib/postgresql/data
if [ ! -e $data ]; then
    rm -rf $data.new
    initdb --auth trust $data.new
    echo "host all all samenet trust" >>$data.new/pg_hba.conf
    mv $data.new $data
fi
exec postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp
