/* Counts the statements that SQLite begins on all connections of the process, and writes the number to the file in
 * IDEM_BENCHES_STATEMENTS. Without the variable, nothing is counted, because a trace has its own cost. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENT_BEGINS 1 /* SQLITE_TRACE_STMT */

/* Weak, because not every program of this package links SQLite. */
extern int sqlite3_auto_extension(void (*begin)(void)) __attribute__((weak));
extern int sqlite3_trace_v2(void *conn, unsigned mask, int (*told)(unsigned, void *, void *, void *), void *context)
    __attribute__((weak));

static atomic_long statements;

static const char *output_path(void) { return getenv("IDEM_BENCHES_STATEMENTS"); }

static int count(unsigned kind, void *context, void *statement, void *text) {
    (void)kind, (void)context, (void)statement;
    /* SQLite reports the statements of a trigger as comments. */
    if (strncmp(text, "--", 2) != 0) atomic_fetch_add(&statements, 1);
    return 0;
}

static int watch(void *conn, char **error, const void *api) {
    (void)error, (void)api;
    return sqlite3_trace_v2(conn, STATEMENT_BEGINS, count, NULL);
}

__attribute__((constructor)) static void begin(void) {
    if (output_path() != NULL && sqlite3_auto_extension != NULL) sqlite3_auto_extension((void (*)(void))watch);
}

__attribute__((destructor)) static void end(void) {
    const char *path = output_path();
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL) return;
    fprintf(file, "%ld\n", atomic_load(&statements));
    fclose(file);
}
