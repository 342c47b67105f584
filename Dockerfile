# The one image of all processes: `docker build -t countersign:0.1.0 .`
# The final stage holds Node, the shared libraries that it loads, and the built command; no shell and no package manager.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build && node_modules/.bin/node scripts/image.ts /image

FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/bin NODE_ENV=production
USER 65532:65532
ENTRYPOINT ["/usr/bin/node", "/opt/countersign/dist/countersign.js"]
