/** The addresses of the one-node cluster. The machine reaches pods and Services through {@link NETWORK.node}. */
export const NETWORK = {
  /** The two ends of the link between the machine and the node. */
  machine: '10.99.0.1',
  node: '10.99.0.2',
  link: '10.99.0.0/30',
  pods: '10.244.0.0/24',
  services: '10.96.0.0/16',
  apiService: '10.96.0.1',
  dnsService: '10.96.0.10',
  domain: 'cluster.local',
} as const;

/** The node's name. */
export const NODE_NAME = 'node-1';

/** Where the API server is, for the machine and for the node alike. */
export const API_SERVER_URL = `https://${NETWORK.node}:6443`;
