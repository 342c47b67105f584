import { describe } from 'vitest';
import { testSpiffeClient } from '../support/spiffe-client-suite.ts';
import { cargoProgram, isInstalled } from '../support/toolchain.ts';

describe.skipIf(process.platform !== 'linux' || !isInstalled('cargo'))(
  'the Rust crates spiffe and spiffe-rustls with our CA and agent (needs Linux and cargo)',
  () => {
    testSpiffeClient('[client: rust spiffe]', async () => [await cargoProgram()]);
  },
);
