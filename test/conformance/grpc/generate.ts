// Writes gen/ from the .proto files of the gRPC interop tests: node test/conformance/grpc/generate.ts
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const binaries = join(import.meta.dirname, '..', '..', '..', 'node_modules', '.bin');
const template = {
  version: 'v2',
  clean: true,
  plugins: [
    {
      local: join(binaries, 'protoc-gen-es'),
      out: join(import.meta.dirname, 'gen'),
      opt: ['target=ts', 'import_extension=.ts', 'erasable_syntax=true'],
    },
  ],
};
const { status } = spawnSync(join(binaries, 'buf'), ['generate', '--template', JSON.stringify(template)], {
  cwd: join(import.meta.dirname, 'proto'),
  stdio: 'inherit',
});
process.exitCode = status ?? 1;
