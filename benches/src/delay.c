/* Replaces fsync and fdatasync of the C library in every program of this package. Each call first waits for the number
 * of microseconds in IDEM_BENCHES_FSYNC_US. A delay by a tracer would slow down all other system calls as well: with 64
 * callers, by a factor of 15. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for_the_disk(void) {
    const char *text = getenv("IDEM_BENCHES_FSYNC_US");
    if (text == NULL) return;
    long us = atol(text);
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

int fsync(int file) {
    wait_for_the_disk();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    wait_for_the_disk();
    return (int)syscall(SYS_fdatasync, file);
}
