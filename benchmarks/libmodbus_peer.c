/* The careful C client beside ours: libmodbus reads the devices of a line in turn.

   cc -O2 libmodbus_peer.c -l:libmodbus.so.5
   libmodbus_peer PATH BAUD SECONDS DEVICES REGISTERS  ->  reads failed median_us cpu_us

   The prototypes are libmodbus's own interface (modbus.h of 3.1), so that no header package is needed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

typedef struct _modbus modbus_t;
extern modbus_t *modbus_new_rtu(const char *, int, char, int, int);
extern int modbus_connect(modbus_t *);
extern int modbus_set_slave(modbus_t *, int);
extern int modbus_set_response_timeout(modbus_t *, uint32_t, uint32_t);
extern int modbus_read_registers(modbus_t *, int, int, uint16_t *);
extern void modbus_close(modbus_t *);

static double now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

static int by_value(const void *first, const void *second) {
    double a = *(const double *)first, b = *(const double *)second;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    if (count != 6) return 2;
    double seconds = atof(words[3]);
    int devices = atoi(words[4]), registers = atoi(words[5]);
    size_t most = 1000000, reads = 0, failed = 0;
    double *took = malloc(most * sizeof *took);
    modbus_t *line = modbus_new_rtu(words[1], atoi(words[2]), 'N', 8, 1);
    if (!took || !line || modbus_connect(line) != 0) return 1;
    modbus_set_response_timeout(line, 1, 0);
    uint16_t got[125];
    double end = now_us() + seconds * 1e6, before = now_us();
    while (before < end && reads < most) {
        modbus_set_slave(line, (int)(reads % devices) + 1);
        if (modbus_read_registers(line, 0, registers, got) != registers) failed++;
        double after = now_us();
        took[reads++] = after - before;
        before = after;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    qsort(took, reads, sizeof *took, by_value);
    printf("%zu %zu %.1f %.1f\n", reads, failed, took[reads / 2], cpu / reads);
    modbus_close(line);
    return 0;
}
