import { defineConfig } from 'vitest/config';

// Two cores: more workers than that only make each test slower.
const common = {
  pool: 'forks',
  maxWorkers: 2,
  testTimeout: 30_000,
  hookTimeout: 120_000,
  expect: { poll: { timeout: 10_000 } },
} as const;

/** The suites. `unit` is the inner loop; the others start real processes, clients and toolchains. */
export default defineConfig({
  test: {
    // Measured by `npm test`, over what must be right whatever else happens.
    coverage: {
      provider: 'v8',
      include: ['core/**', 'spiffe/**', 'ca/issue/**'],
      thresholds: { 'core/**': { lines: 95 }, 'spiffe/**': { lines: 95 }, 'ca/issue/**': { lines: 95 } },
      reporter: ['text-summary'],
      reportsDirectory: 'coverage',
    },
    projects: [
      { test: { ...common, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          ...common,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          ...common,
          name: 'conformance',
          include: ['test/conformance/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
      { test: { ...common, name: 'fault', include: ['test/fault/**/*.test.ts'], testTimeout: 600_000, hookTimeout: 600_000 } },
      {
        test: {
          ...common,
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          globalSetup: ['test/support/kubernetes/cluster-setup.ts'],
          // One cluster, one file at a time, and after everything else: its own processes fill two cores.
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 600_000,
          expect: { poll: { timeout: 60_000, interval: 250 } },
        },
      },
    ],
  },
});
