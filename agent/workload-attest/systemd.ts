import type { Clock } from '../../core/clock.ts';
import type { WorkloadAttestor } from './attestor.ts';

/** Options of the `systemd` attestor. */
export interface SystemdAttestorOptions {
  readonly clock: Clock;
  readonly systemBusSocketPath?: string | undefined;
}

export function createSystemdAttestor(_options: SystemdAttestorOptions): WorkloadAttestor {
  return { name: 'systemd', needsCgroups: true, freshForMs: 5000, attest: () => [] };
}
