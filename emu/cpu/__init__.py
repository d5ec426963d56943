"""The CPU: Unicorn behind `kernel.cpu.Cpu`. The only folder that calls libunicorn."""
