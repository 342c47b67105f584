import type { Selector } from '../cache/selectors.ts';
import type { ProcessImage } from './process-image.ts';

/**
 * Derives selectors of one kind from a process.
 *
 * An attestor reads what it needs by pid; the caller proves afterwards that the pid still was the workload, so an attestor
 * need not. A selector's type is the attestor's name. One that has nothing to say about a process answers with no selector.
 */
export interface WorkloadAttestor {
  readonly name: string;
  /** Whether it looks at {@link ProcessImage.cgroups}, which cost a read of their own. */
  readonly needsCgroups: boolean;
  /** How long an answer holds for a process whose image stays the same, in milliseconds. */
  readonly freshForMs: number;
  /** How long a caller waits for its answer, in milliseconds; 5 s unless given. */
  readonly timeoutMs?: number;
  attest(image: ProcessImage, signal: AbortSignal): readonly Selector[] | Promise<readonly Selector[]>;
  /** Ends connections that the attestor keeps. */
  close?(): void;
}
