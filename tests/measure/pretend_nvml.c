/* The part of NVML that csrc/measure calls: one GPU, 0000:01:00.0, which takes 2.5 J between two looks. */
#include <string.h>

static unsigned long long counted = 1000000;
static int started = 0;

int nvmlInit_v2(void) {
  started = 1;
  return 0;
}
int nvmlShutdown(void) {
  started = 0;
  return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device) {
  *device = &counted;
  return started && strcmp(bus_id, "0000:01:00.0") == 0 ? 0 : 6;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
  *millijoules = *(unsigned long long *)device;
  counted += 2500;
  return started ? 0 : 1;
}
