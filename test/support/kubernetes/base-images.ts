// The two images that a cluster itself needs.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { cacheFolder, goProgram } from '../toolchain.ts';
import { createDockerArchive } from './docker-archive.ts';
import type { ImageArchive } from './docker-archive.ts';
import { buildOnce } from './go-build.ts';

const COREDNS_VERSION = 'v1.12.4';

// CoreDNS with the plugins that a cluster without a way out can use: a fifth of the code, and of the time to build it.
const COREDNS_MAIN = `package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() { coremain.Run() }
`;

/** What holds a pod's namespaces open. */
export async function buildPauseImage(): Promise<ImageArchive> {
  return programImage('pause', await goProgram('pause'));
}

/** The cluster's DNS server. */
export async function buildCoreDnsImage(): Promise<ImageArchive> {
  const program = await buildOnce({
    target: join(cacheFolder(), 'kubernetes', `coredns-${COREDNS_VERSION}`),
    label: `CoreDNS ${COREDNS_VERSION}`,
    files: async () => ({ 'go.mod': goMod(), 'main.go': COREDNS_MAIN }),
    package: '.',
  });
  return programImage('coredns', program);
}

/** An image of one static program and nothing else. */
function programImage(name: string, program: string): ImageArchive {
  return createDockerArchive({
    repository: `countersign.test/${name}`,
    files: [{ path: name, content: readFileSync(program), mode: 0o755 }],
    entrypoint: [`/${name}`],
  });
}

function goMod(): string {
  return ['module countersign.dev/coredns', 'go 1.26.0', `require github.com/coredns/coredns ${COREDNS_VERSION}`, ''].join('\n');
}
