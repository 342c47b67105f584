import { watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createSecureContext } from 'node:tls';

import type { Clock, Timer } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { PublicTlsConfig } from '../config.ts';
import type { PublicCredentials } from './public-listener.ts';

/** A certificate and its key, as the files are replaced. */
export interface FileCredentials extends Source<PublicCredentials>, AsyncDisposable {}

// Whoever replaces both files needs a moment between them; a pair that does not belong together is not taken.
const SETTLE_MS = 100;

/**
 * Reads the certificate and key of a listener and follows their folders, so that a renewed certificate is served
 * without a restart. Follows a swapped folder link, too, as Kubernetes mounts secrets. What cannot be read or does not
 * belong together is logged and the last good pair stays in use.
 *
 * @param name the key of the configuration that names the files; `publicTls` unless given
 * @throws IdentityError `failed_precondition` when the first pair cannot be used
 */
export async function openFileCredentials(
  config: PublicTlsConfig,
  { clock, log, name = 'publicTls' }: { readonly clock: Clock; readonly log: Logger; readonly name?: string },
): Promise<FileCredentials> {
  const current = new Current(await readPair(config, name));
  let timer: Timer | undefined;
  let reading: Promise<void> = Promise.resolve();
  const reread = async (): Promise<void> => {
    try {
      const next = await readPair(config, name);
      if (isSame(next, current.value)) return;
      current.set(next);
      log.info({ certFile: config.certFile }, 'public certificate replaced');
    } catch (err) {
      log.warn({ err }, 'public certificate not replaced; the last one stays in use');
    }
  };
  const onChange = (): void => {
    timer?.cancel();
    timer = clock.setTimer(SETTLE_MS, () => {
      reading = reading.then(reread);
    });
  };
  const folders = new Set([dirname(config.certFile), dirname(config.keyFile)]);
  const watchers = [...folders].map((folder) =>
    watch(folder, onChange).on('error', (err) => log.warn({ err }, 'folder not watched')),
  );
  return {
    get value() {
      return current.value;
    },
    subscribe: (listener) => current.subscribe(listener),
    async [Symbol.asyncDispose]() {
      for (const watcher of watchers) watcher.close();
      timer?.cancel();
      await reading;
    },
  };
}

async function readPair({ certFile, keyFile }: PublicTlsConfig, name: string): Promise<PublicCredentials> {
  try {
    const [certificatePem, privateKeyPem] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
    // Throws when either cannot be read as PEM and when they do not belong together.
    createSecureContext({ cert: certificatePem, key: privateKeyPem });
    return { certificatePem, privateKeyPem };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    const message = `${name}: cannot use ${certFile} with ${keyFile} (${why}); both must be PEM and belong together`;
    throw new IdentityError('failed_precondition', message, { cause });
  }
}

function isSame(one: PublicCredentials, other: PublicCredentials): boolean {
  return one.certificatePem === other.certificatePem && one.privateKeyPem === other.privateKeyPem;
}
