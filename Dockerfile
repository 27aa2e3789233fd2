# One image for all services of compose.yaml; each runs `python -m scripts run <process>`.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends e2fsprogs iptables mount util-linux \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/lightd
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

COPY wsgi.py celery_app.py ./
COPY fleet fleet
COPY app app
COPY storage storage
COPY worker worker
COPY scripts scripts

ENTRYPOINT ["python", "-m", "scripts"]
