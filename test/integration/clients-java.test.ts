import { describe } from 'vitest';
import { javaExecutable } from '../support/spiffe-client.ts';
import { testSpiffeClient } from '../support/spiffe-client-suite.ts';
import { isInstalled, mavenProgram } from '../support/toolchain.ts';

const isReady = isInstalled('java') && isInstalled('mvn');

describe.skipIf(process.platform !== 'linux' || !isReady)(
  'java-spiffe with our CA and agent (needs Linux, java 17 and mvn)',
  () => {
    testSpiffeClient('[client: java-spiffe]', async () => [
      await javaExecutable(),
      '-XX:TieredStopAtLevel=1',
      '-cp',
      await mavenProgram(),
      'workload.Workload',
    ]);
  },
);
