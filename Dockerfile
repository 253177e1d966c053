# hrkit with small networks that work offline, on the CPU:
#   docker build --tag hrkit .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" hrkit demo --image photo.jpg
FROM python:3.12-slim

# libraries that OpenCV needs
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

# PyTorch's build for CPUs, which is some gigabytes smaller; leave the line out for GPUs
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE NOTICE /src/
COPY hrkit /src/hrkit
COPY plugins/hrkit-lite /src/plugins/hrkit-lite
RUN pip install --no-cache-dir /src /src/plugins/hrkit-lite && rm -rf /src

ENV HRKIT_HOME=/models HOME=/tmp
RUN mkdir -m 777 /models
WORKDIR /data
USER 1000
ENTRYPOINT ["hrkit"]
CMD ["--help"]
