import { resolve } from 'node:path';
import { boolean, type Decoded, type Decoder, integer, map, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import type { WorkloadAttestor } from './attestor.ts';
import { createDockerAttestor } from './docker.ts';
import { k8sAttestorConfig, openK8sAttestor, type K8sSurroundings } from './k8s/config.ts';
import { createSystemdAttestor } from './systemd.ts';
import { createUnixAttestor } from './unix.ts';

/** The schema of `workloadAttestors` in `agent.yaml`; an attestor that is not named does not run. */
export function workloadAttestorsConfig(baseDir: string) {
  const socket = socketPath(baseDir);
  return map(
    object({
      unix: optional(object({ discoverWorkloadPath: optional(boolean), workloadSizeLimit: optional(integer()) })),
      systemd: optional(object({ systemBusSocketPath: optional(socket) })),
      docker: optional(
        object({
          dockerSocketPath: optional(socket),
          dockerVersion: optional(map(string(), parseApiVersion)),
          podmanSocketPath: optional(socket),
          podmanSocketPathTemplate: optional(map(string(), (text) => parseTemplate(text, baseDir))),
        }),
      ),
      k8s: optional(k8sAttestorConfig(baseDir)),
    }),
    requireOne,
  );
}

/** Which workload attestors run, and how. */
export type WorkloadAttestorsConfig = Decoded<ReturnType<typeof workloadAttestorsConfig>>;

/**
 * The attestors of a configuration; called by `app.ts`.
 *
 * @throws IdentityError `invalid_argument` where the environment lacks what the configuration needs
 */
export function createWorkloadAttestors(config: WorkloadAttestorsConfig, around: K8sSurroundings): readonly WorkloadAttestor[] {
  const { clock } = around;
  const attestors: WorkloadAttestor[] = [];
  if (config.unix !== undefined) attestors.push(createUnixAttestor({ ...config.unix, clock }));
  if (config.systemd !== undefined) attestors.push(createSystemdAttestor({ ...config.systemd, clock }));
  if (config.docker !== undefined) attestors.push(createDockerAttestor({ ...config.docker, clock }));
  if (config.k8s !== undefined) attestors.push(openK8sAttestor(config.k8s, around));
  return attestors;
}

function requireOne<T extends object>(config: T): T {
  if (Object.values(config).some((each) => each !== undefined)) return config;
  throw new IdentityError('invalid_argument', 'name at least one of unix, systemd, docker, k8s, for example unix: {}');
}

/** A socket's path, also in the form `unix:///var/run/docker.sock` that SPIRE's configuration has. */
function socketPath(baseDir: string): Decoder<string> {
  return map(string(), (text) => parseSocketPath(text, baseDir));
}

function parseSocketPath(text: string, baseDir: string): string {
  const path = text.replace(/^unix:(?:\/\/)?/, '');
  if (path !== '' && !/^\w+:\/\//.test(path)) return resolve(baseDir, path);
  throw new IdentityError('invalid_argument', `"${text}" is no unix socket; write a path such as unix:///var/run/docker.sock`);
}

function parseTemplate(text: string, baseDir: string): string {
  const path = parseSocketPath(text, baseDir);
  if (path.split('%d').length === 2 && path.split('%').length === 2) return path;
  throw new IdentityError('invalid_argument', 'must hold %d exactly once, for the user ID');
}

function parseApiVersion(text: string): string {
  const version = text.replace(/^v/, '');
  if (/^\d+\.\d+$/.test(version)) return version;
  throw new IdentityError('invalid_argument', `"${text}" is no version of the engine's API; write one such as "1.43"`);
}
