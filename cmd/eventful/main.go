// Command eventful is EventfulDB on the command line: it runs the server, and writes, reads and proves events.
//
// A command prints its answer on standard output; an error is one `error:` line and, where there is something to do about it, one `hint:` line
// on standard error. The exit statuses are those of package problem: 0 done, 1 failure, 2 usage, 3 not found, 4 conflict, 5 refused,
// 6 unavailable, 7 verification failed.
package main

import "os"

func main() { os.Exit(execute(os.Args[1:])) }
