// The program that is started, signalled, reloaded and read from: as little as there can be, so that what stands above it is measured.
//
//   stamp      write the clock when main() begins, then wait for ever
//   signals    the same, and write the clock again at each SIGUSR1
//   orphans N  after a byte on stdin: leave N dead orphans to PID 1; write the clock once they are gone
//   lines N    write N lines of 100 bytes, many at once
//   numbered N the same, each with its number
//
// The clock is CLOCK_MONOTONIC, 8 bytes of nanoseconds on stdout.
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 100, BLOCK = 655 };

static void stamp(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t nanoseconds = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (write(1, &nanoseconds, sizeof nanoseconds) != sizeof nanoseconds) _exit(1);
}

static void on_signal(int number) {
    (void)number;
    stamp();
}

static void write_all(const char *from, size_t length) {
    while (length > 0) {
        ssize_t written = write(1, from, length);
        if (written < 0) _exit(1);
        from += written;
        length -= written;
    }
}

static void orphans(long count) {
    char byte;
    stamp();
    if (read(0, &byte, 1) != 1) _exit(1);
    pid_t parent = fork();
    if (parent < 0) _exit(1);
    if (parent == 0) {
        for (long i = 0; i < count; i++) {
            pid_t child = fork();
            if (child < 0) _exit(1);
            if (child == 0) _exit(0);
        }
        _exit(0);
    }
    int status;
    while (waitpid(parent, &status, 0) < 0 && errno == EINTR) {}
    if (status != 0) _exit(1);
    // All but PID 1 and this process, zombies too.
    while (kill(-1, 0) == 0) nanosleep(&(struct timespec){0, 200000}, 0);
    stamp();
}

static void lines(long count, int numbered) {
    static char block[LINE * BLOCK];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < BLOCK; i++) block[i * LINE + LINE - 1] = '\n';
    for (long done = 0; done < count;) {
        long now = count - done < BLOCK ? count - done : BLOCK;
        for (long i = 0; numbered && i < now; i++) {
            char number[16];
            int length = snprintf(number, sizeof number, "%010ld ", done + i);
            memcpy(block + i * LINE, number, length);
        }
        write_all(block, now * LINE);
        done += now;
    }
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    long count = argc > 2 ? atol(argv[2]) : 0;
    if (!strcmp(verb, "lines") || !strcmp(verb, "numbered")) {
        lines(count, !strcmp(verb, "numbered"));
        return 0;
    }
    if (!strcmp(verb, "orphans")) {
        orphans(count);
    } else {
        if (!strcmp(verb, "signals")) signal(SIGUSR1, on_signal);
        stamp();
    }
    for (;;) pause();
}
