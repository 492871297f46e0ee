#!/bin/sh
# in_temporary_folder.sh COMMAND...: runs COMMAND in an empty folder, and removes it afterwards.
# The folder's path is short, as that of a Unix socket is limited to some 100 bytes.
# FILEXFER_KEEP=1 keeps the folder.
folder=$(mktemp -d "${TMPDIR:-/tmp}/filexfer.XXXXXX") || exit 1
finish() {
  cd /
  if [ -n "$FILEXFER_KEEP" ]; then
    echo "kept: $folder"
  else
    rm -rf "$folder"
  fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$folder" || exit 1
"$@"
