#!/usr/bin/env bash
# install.sh DEST: a real OpenSearch node and its security plugin, from Maven's jars, into DEST. What is there already stays. MVN_ARGS are given to mvn.
# Needs Java 17 (java, javac, jar) and Maven.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)

# The node: server and modules, and the launcher, which starts the server's own Node class.
if [ ! -s "$dest/classpath" ]; then
  mvn -B -q ${MVN_ARGS:-} -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$dest/lib"
  classes=$(mktemp -d)
  javac -cp "$dest/lib/*" -d "$classes" "$here/OpenSearchNode.java"
  jar cf "$dest/node.jar" -C "$classes" .
  rm -rf "$classes"
  { echo -n "$dest/node.jar"; for jar in "$dest"/lib/*.jar; do echo -n ":$jar"; done; } >"$dest/classpath.new"
  mv "$dest/classpath.new" "$dest/classpath"
fi

# The security plugin. Its folder and the class path may not hold the same class, so what the class path has already is dropped from it.
plugin=$dest/security/plugins/opensearch-security
if [ ! -s "$plugin/plugin-descriptor.properties" ]; then
  zip=$(mktemp -d)
  mvn -B -q ${MVN_ARGS:-} -f "$here/pom-security.xml" dependency:copy-dependencies -DincludeTypes=zip -DoutputDirectory="$zip"
  mkdir -p "$plugin"
  (cd "$plugin" && jar xf "$zip"/opensearch-security-*.zip)
  for jar in "$plugin"/*.jar; do
    artifact=$(basename "$jar" | sed -E 's/-[0-9][^/]*\.jar$//')
    if compgen -G "$dest/lib/$artifact-[0-9]*.jar" >/dev/null; then rm "$jar"; fi
  done
  rm -rf "$zip"
fi

# A class data archive: the node starts in three seconds instead of five. Java writes it when the node ends, and that ends with its standard input.
if [ ! -s "$dest/node.jsa" ]; then
  home=$(mktemp -d)
  coproc NODE { exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit="$dest/node.jsa" -cp "$(cat "$dest/classpath")" OpenSearchNode "$home" 2>&1; }
  pid=$NODE_PID in=${NODE[1]}
  while read -r line <&"${NODE[0]}"; do case $line in READY*) break ;; esac; done
  exec {in}>&-
  wait "$pid" || true
  rm -rf "$home"
fi
