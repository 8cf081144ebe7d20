#!/bin/sh
# Sees to the server programs of PostgreSQL, which tests start for themselves: they are there, or Debian's package is installed, or this says what to do.
set -eu
find_it() { command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -1; }
found=$(find_it)
if [ -z "$found" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
	apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql
	found=$(find_it)
fi
if [ -z "$found" ]; then
	echo 'postgres: there is no initdb, and this user cannot install the Debian package postgresql: install PostgreSQL 14 or newer' >&2
	exit 1
fi
"$found" --version
