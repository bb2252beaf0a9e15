# docker build -t aberra .                              CPU
# docker build -t aberra:cuda --build-arg TORCH=cu128 . CUDA; run with --gpus all
# docker run --rm -v DATA:/data aberra detect auto /data/scan.nii.gz --out /data/results
FROM python:3.11-slim
ARG TORCH=cpu
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/${TORCH}
COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt '/src[dicom]' && rm -rf /src
ENTRYPOINT ["aberra"]
