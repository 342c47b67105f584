// Requests to every RPC of the SPIRE server API: by callers who may and who may not, well-formed and not. What the
// published implementation answers is in `answers.json`.
import { accessProbes } from './access-probes.ts';
import { agentProbes } from './agent-probes.ts';
import { authorityProbes } from './authority-probes.ts';
import { bundleProbes, trustDomainProbes } from './bundle-probes.ts';
import { entryProbes } from './entry-probes.ts';
import type { Probe } from './probe.ts';
import { svidProbes } from './svid-probes.ts';
import type { World } from './world.ts';

/** All probes, in the order in which they are to be made. */
export function probes(world: World): Probe[] {
  return [
    ...accessProbes(),
    ...agentProbes(world),
    ...entryProbes(world),
    ...svidProbes(world),
    ...bundleProbes(world),
    ...trustDomainProbes(world),
    ...authorityProbes(),
  ];
}
