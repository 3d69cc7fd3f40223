/* Counts the statements that SQLite begins, on every connection of the process, and writes the number to the file that
 * the environment names. Only a program that is told to does so: a trace has a cost of its own. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENT_BEGINS 1 /* SQLITE_TRACE_STMT */

/* Weak: not every program of this package has SQLite in it. */
extern int sqlite3_auto_extension(void (*begin)(void)) __attribute__((weak));
extern int sqlite3_trace_v2(void *conn, unsigned mask, int (*told)(unsigned, void *, void *, void *), void *context)
    __attribute__((weak));

static atomic_long statements;

static const char *told_to(void) { return getenv("IDEM_BENCHES_STATEMENTS"); }

static int count(unsigned kind, void *context, void *statement, void *text) {
    (void)kind, (void)context, (void)statement;
    /* A comment stands for what a trigger does inside a statement. */
    if (strncmp(text, "--", 2) != 0) atomic_fetch_add(&statements, 1);
    return 0;
}

static int watch(void *conn, char **error, const void *api) {
    (void)error, (void)api;
    return sqlite3_trace_v2(conn, STATEMENT_BEGINS, count, NULL);
}

__attribute__((constructor)) static void begin(void) {
    if (told_to() != NULL && sqlite3_auto_extension != NULL) sqlite3_auto_extension((void (*)(void))watch);
}

__attribute__((destructor)) static void end(void) {
    const char *path = told_to();
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL) return;
    fprintf(file, "%ld\n", atomic_load(&statements));
    fclose(file);
}
